"""What a message says: names, values and lines of code, in a form that is safe to show."""
