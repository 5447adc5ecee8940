"""What every part of the library may use: no server, no instance, no component."""
