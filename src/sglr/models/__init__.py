"""Networks: plain modules with named layers to cut at, one file each, without code for cuts or clients."""
