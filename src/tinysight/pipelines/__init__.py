"""From images, wherever they are, to results."""
