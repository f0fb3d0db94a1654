"""The page of `nst app`: who visits, what they brought, what is painted for them, and how that is told."""
