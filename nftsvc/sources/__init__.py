"""Where objects come from. Every source delivers the same decoded objects."""
