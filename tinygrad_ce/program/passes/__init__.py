"""Programs made faster: functions from Program to Program."""
