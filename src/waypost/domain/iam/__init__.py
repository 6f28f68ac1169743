"""The IAM policy language: parsing and evaluation of identity policies, as the IAM User Guide defines them."""
