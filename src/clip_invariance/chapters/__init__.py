"""One room a chapter: its arms, trainings, measures, tables, numbers and figures."""
