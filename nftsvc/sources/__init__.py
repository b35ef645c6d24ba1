"""Where objects come from: files and standard input, a folder that is watched, a cluster."""
