"""A folder of somebody's images becomes a data set that recipes can name, and a recipe."""
