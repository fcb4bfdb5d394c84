"""What goes over the wire: frames of a protobuf envelope and raw tensors, checked before anything is allocated."""
