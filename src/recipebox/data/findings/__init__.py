"""What can be wrong with a data set: the rules, one function each, and the scan that applies them to a folder."""
