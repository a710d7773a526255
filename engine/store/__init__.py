"""The store: durable rows, the audit, and the fence against a second engine."""
