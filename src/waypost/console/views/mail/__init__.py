"""The pages about mail: the lists, a message with its parts, its actions, and the events that keep a list current."""
