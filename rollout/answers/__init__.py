"""What an answer is and how two of them compare: tasks, labels, schemas, judges."""
