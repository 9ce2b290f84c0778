"""From pictures, wherever they are, to answers."""
