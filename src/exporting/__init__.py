"""Networks as files that run without this project: graphs of a method's steps, in three formats, checked."""
