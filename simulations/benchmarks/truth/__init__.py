"""``fedwatt benchmark truth``: strategies on small problems whose answer is published."""
