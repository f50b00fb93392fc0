"""What fills, payments and reports make of an account. Pure."""
