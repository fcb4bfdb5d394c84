"""Models of libraries, by a prefixed name such as ``timm:resnet18``: one file for each library."""
