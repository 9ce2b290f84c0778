"""From images, wherever they are, to answers."""
