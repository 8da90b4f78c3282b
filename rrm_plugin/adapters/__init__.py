"""Shapes of hosts (TRL, OpenRLHF, verl) in and out, one module a host; none of them knows another."""
