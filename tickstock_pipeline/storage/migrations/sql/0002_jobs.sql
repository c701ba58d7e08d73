-- Import jobs, from the message to the last symbol.

SELECT 1;
