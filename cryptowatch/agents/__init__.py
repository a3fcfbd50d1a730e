"""Agents: who brings players, and what they earn by it.

plans       what share of what an agent earns (pure)
commission  from what players did to what each agent of a tree gets (pure)
anomalies   what a person should look at before anything is paid (pure)
hierarchy   agents, their plans, their players, as rows
statements  periods closed into statements
deciding    statements paid or rejected
listing     statements as they are shown
worker      closes periods, pays what needs nobody's approval
"""
