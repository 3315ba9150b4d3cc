"""A private copy of the generated code of `buf/validate/validate.proto`, which no wheel of its own has."""
