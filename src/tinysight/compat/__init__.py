"""Other frameworks' files and languages, each behind one door."""
