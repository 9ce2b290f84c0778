"""Data sets made of annotated photographs or of longer lists; `tinysight data prepare`."""
