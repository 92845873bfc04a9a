"""What clients see: the handlers, their answers and problem documents. Read `handlers` first."""
