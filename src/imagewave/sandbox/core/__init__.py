"""What every API of the sandbox stands on: state on disk, settings, faults, prices."""
