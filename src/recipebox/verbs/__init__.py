"""The verbs of the command line, by what they take; each is one function that hands over to the module that does it."""
