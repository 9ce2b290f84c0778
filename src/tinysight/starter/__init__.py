"""From a folder of images to a recipe, and to a run that is trained, judged and exported: `tinysight train --data`."""
