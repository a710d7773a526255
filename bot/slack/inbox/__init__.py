"""What people did, accepted: parse, one insert, ack."""
