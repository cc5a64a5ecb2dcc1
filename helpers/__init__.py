"""What two or more notebooks share: data, training, checks, figures, reports."""
