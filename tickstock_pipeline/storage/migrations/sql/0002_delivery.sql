-- What live delivery needs: the outbox, and who works on which shard.

SELECT 1;
