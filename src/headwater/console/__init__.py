"""What an operator sees: one page, made of what the roles say of themselves."""
