"""What a network is for: the tasks, their results, and the post-processors between the two."""
