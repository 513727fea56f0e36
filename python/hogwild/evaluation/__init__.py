"""The evaluation: tasks, budgets, comparisons and reports, the collaboration judge, and lm-evaluation-harness."""
