"""What pretrained networks were trained to be given."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of RGB in [0, 1], for torchvision's networks."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of RGB in [0, 1], for torchvision's networks."""

CAFFE_MEAN = (103.939, 116.779, 123.68)
"""Of BGR in [0, 255], for Caffe's networks; they are not divided by a standard deviation."""
