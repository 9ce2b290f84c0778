"""The random transforms, for training; a registry imports the module of the name that is looked up."""
