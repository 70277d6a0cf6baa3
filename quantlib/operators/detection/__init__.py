"""Detection: from boxes and scores to the few that are kept."""
