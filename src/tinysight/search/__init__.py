"""A search for the best recipe: which trainings, in what order, and what came of them."""
