"""Events: the intake, checked against schemas, durable before it answers."""
