"""What class maps are worth on labelled images. Knows no torch and no clock."""
