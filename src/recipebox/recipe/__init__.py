"""From a recipe to a plan: read, check, apply profiles and fallbacks, lock. Imports nothing that computes."""
