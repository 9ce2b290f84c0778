"""Other places than a folder for the items of a gallery; see `tinysight.gallery.base.Store`."""
