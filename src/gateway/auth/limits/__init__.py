"""How much each principal asks for, and when that is too much."""
