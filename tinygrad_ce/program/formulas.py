"""x"""
FORMULAS = ()
