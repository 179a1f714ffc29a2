"""The levers: one file a technique, a pure function that does the maths and a thin class that says when."""
