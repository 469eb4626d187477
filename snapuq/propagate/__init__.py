"""Every member from what the MLE was asked: rows at fixed positions, relaxations from the MLE's states."""
