"""From YAML recipes and `key=value` overrides to a typed, validated `Config`."""
