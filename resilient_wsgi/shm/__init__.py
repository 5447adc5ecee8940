"""What the processes of one instance share."""
