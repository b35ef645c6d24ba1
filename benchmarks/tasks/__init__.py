"""What a process of its own measures: arguments and outcomes are plain values, times are in seconds."""
