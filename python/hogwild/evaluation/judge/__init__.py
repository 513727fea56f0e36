"""How well workers collaborate, scored by another model (paper, section 4.3 and Appendix H)."""
