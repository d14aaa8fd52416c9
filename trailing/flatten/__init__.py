"""Close every position of an account at once, without a manager and without its lease."""
